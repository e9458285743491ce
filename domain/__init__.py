"""What may happen: pure decisions about tasks, runs, queues and agents. No clock, no random, no I/O."""
