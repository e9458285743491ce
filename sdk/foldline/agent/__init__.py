"""The agent: takes attempts from queues, runs them as processes of their own, and reports how they ended."""
