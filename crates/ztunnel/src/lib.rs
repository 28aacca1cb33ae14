//! The applink node proxy.
