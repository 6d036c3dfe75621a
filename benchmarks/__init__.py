"""What `make bench` measures: the product against what its machine can do at best, side by side in one run.

Figures of a shared machine mean little by themselves, so every goal is a ratio. Both sides of a ratio run on the same
servers, tables and indexes, on rows of their own that were laid out alike, in turns, round after round; the median
ratio of the rounds counts. A run is void if a side did not do all of its work.
"""
