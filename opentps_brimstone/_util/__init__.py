"""What has nothing to do with radiotherapy."""
