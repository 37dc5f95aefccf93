//! Compiles the first core's structure, optimised whatever the profile, against the LZ4 that the store uses.

fn main() {
    for file in ["first_core.c", "frames.h", "lock.h"] {
        println!("cargo:rerun-if-changed={file}");
    }
    let mut build = cc::Build::new();
    build.file("first_core.c").std("c11").opt_level(3).warnings(true).extra_warnings(true);
    if let Some(include) = std::env::var_os("DEP_LZ4_INCLUDE") {
        build.include(include);
    }
    if std::env::var_os("CARGO_FEATURE_MUTEX").is_some() {
        build.define("FIRST_CORE_MUTEX", None);
    }
    build.compile("first_core");
}
