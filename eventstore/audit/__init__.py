"""Proof that nobody has rewritten the log: a tree over the hashes of its events, signed again and again as it grows.

`notes` and `keys` say how a checkpoint looks and who signs it, `tree` reads what is stored of the tree, `seals` makes
checkpoints and `sealer` does so while a server runs, `proofs` shows one event or two checkpoints, `verification` checks
it all. How it looks from outside is in docs/audit.md.
"""
