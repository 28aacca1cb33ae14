//! The CNI agent's protocol and the proxies inside pods.
