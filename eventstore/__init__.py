"""What has happened: an append-only log of events with the few rows that must commit with them."""
