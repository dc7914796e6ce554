//! One binary for every test through the real herd.
