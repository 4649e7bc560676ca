"""Collections of Kingfisher Process."""
