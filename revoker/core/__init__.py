"""The rule and every decision that rests on it: no await, no clock, no I/O; `now` is an argument."""
