"""The API's nouns, one module each: what `Client.runs`, `Client.tasks` and the others are."""
