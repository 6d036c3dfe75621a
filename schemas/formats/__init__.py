"""Records of identity platforms, in our words: pure translators, one a platform.

A translator takes one native record and says what it is called there, and what it means here: one event of ours, or
nothing (known and harmless). What it does not know it refuses, so that `doctor` can name it. It decides nothing and
checks little: whatever comes out is validated by the same models as everybody's events. The tables: docs/formats.md.
"""
