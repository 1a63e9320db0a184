"""Rules of events shared by jobs and serving."""
