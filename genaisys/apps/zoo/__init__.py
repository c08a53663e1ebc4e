"""The tab in which people play with the generative models of the zoo."""
