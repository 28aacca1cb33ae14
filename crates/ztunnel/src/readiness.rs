//! What must be done before the proxy is ready.
