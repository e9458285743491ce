"""What every test can ask for: databases, a run in which nothing is skipped unseen, and no process left behind."""

import signal

# The databases import the leftovers: pytest wants to be the first to import a plugin.
pytest_plugins = ["tests.support.leftovers", "tests.support.databases", "tests.support.must_run"]

# A run in the background of a shell inherits that Ctrl-C is ignored, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
