"""What a network predicts of every keypoint, one family a file."""
