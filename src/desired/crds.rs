//! CRDs of Istio and of the Gateway API: which may be applied.
