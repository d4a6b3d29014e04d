//! digitalocean
