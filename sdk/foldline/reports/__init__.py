"""What a task reports besides artifacts: figures as plotly's JSON, pictures, media, and their way to the server."""
