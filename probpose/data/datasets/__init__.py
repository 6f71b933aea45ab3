"""Data sets: COCO, any COCO-format keypoint file, Leeds Sports Pose, and lists of images."""
