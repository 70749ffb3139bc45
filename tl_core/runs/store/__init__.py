"""The store on disk: workspaces, job folders, locks."""
