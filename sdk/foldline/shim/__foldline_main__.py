"""Stands for the caller's main script in a step's process and in the processes which that starts."""

import sys

from foldline.running import execute_main

execute_main(sys.modules[__name__])
