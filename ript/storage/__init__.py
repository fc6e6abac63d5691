"""What is learned from: windows of episodes, their replay, their augmentation, their prefixes."""
