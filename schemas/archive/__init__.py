"""The archive of closed days: its folder, and the manifests of its days."""
