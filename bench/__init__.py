"""Measurements that others can repeat, as ratios within one run."""
