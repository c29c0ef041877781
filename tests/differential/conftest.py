"""Which of these files pytest looks into: not what runs under another Python, nor the tables."""

collect_ignore = ["peer.py", "cases"]
