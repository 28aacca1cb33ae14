//! applink: the open application network for any Kubernetes cluster.
