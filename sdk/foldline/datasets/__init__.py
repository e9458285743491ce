"""`Dataset`: versions of a folder of files, each a task with a manifest; files are stored once, by their content."""

from foldline.datasets.dataset import Dataset
from foldline.datasets.entries import FileEntry, LinkEntry

__all__ = ["Dataset", "FileEntry", "LinkEntry"]
