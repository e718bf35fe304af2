"""The design of a study of a network of one's own: its dropout sites, arms, stages and cost."""
