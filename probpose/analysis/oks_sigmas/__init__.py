"""OKS sigmas of any skeleton: how far one label lies from the true location, with intervals."""
