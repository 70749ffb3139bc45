"""The app as a server: what answers before any page does. It knows requests and connections, and nothing of workspaces or jobs."""
