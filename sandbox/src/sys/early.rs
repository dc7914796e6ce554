//! What a program does before Rust's own start.
#![allow(
    unsafe_code,
    reason = "a function in the section of the C library's own start"
)]

/// `before_main!(function)`: has the C library call `function` before Rust's start, which looks at the
/// stack, makes another one for overflows, and sets signals: half of what a short-lived program does.
///
/// The arguments and the environment can be read there. What a program needs of Rust's start, it does
/// itself: see [`start_bare`](crate::start_bare). A panic aborts.
#[macro_export]
macro_rules! before_main {
    ($function:path) => {
        const _: () = {
            extern "C" fn begin() {
                $function()
            }
            // SAFETY: the C library calls each function of this section once, with arguments that one
            // without parameters leaves alone, after its own start and after that of Rust's arguments,
            // whose place in the section is before those without a number.
            #[used]
            #[unsafe(link_section = ".init_array")]
            static BEGIN: extern "C" fn() = begin;
        };
    };
}
