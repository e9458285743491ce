"""The write side: commands in, events decided and appended."""
