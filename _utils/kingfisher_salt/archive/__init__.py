"""Archive crawls to S3: what to archive, how, and how to get it back."""
