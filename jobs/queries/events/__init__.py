"""SQL of events: their life, their participations, commands and settlements."""
