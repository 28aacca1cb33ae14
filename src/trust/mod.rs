//! Root and intermediate certificate authorities.
