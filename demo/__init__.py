"""The demo: a publisher, real crawls of it, and a Salt master and minion that archive them."""
