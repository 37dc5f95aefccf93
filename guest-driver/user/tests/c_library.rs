//! Compilers of C and C++ take the C library without a warning, and give its structures the sizes and numbers that the Rust library uses.
//! That it works is for a guest to show (`cargo xtask test --only linux-memory`).

use std::path::Path;
use std::process::Command;

use tmem_guest::abi;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/c");
const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../linux");

/// Has a compiler check one file, every warning an error; a machine without it skips that.
fn check(compiler: &str, standard: &str, file: &Path) {
    let mut command = Command::new(compiler);
    command.args([standard, "-D_POSIX_C_SOURCE=200809L", "-fsyntax-only"]);
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", FOLDER, "-I", DRIVER]);
    if compiler == "c++" {
        command.args(["-x", "c++"]);
    }
    match command.arg(file).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("skipped: no compiler ({compiler}: {error})"),
    }
}

#[test]
fn strict_c_and_cpp_have_no_warning() {
    let smoke = Path::new(FOLDER).join("smoke.c");
    for standard in ["-std=c11", "-std=gnu17"] {
        check("cc", standard, &smoke);
    }
    for standard in ["-std=c++11", "-std=c++20"] {
        check("c++", standard, &smoke);
    }
}

#[test]
fn structures_and_requests_are_those_of_the_rust_library() {
    let mut source = String::from("#include <stddef.h>\n#include \"tmem.h\"\n");
    let mut fact = |name: &str, value: u64| {
        source += &format!("_Static_assert({name} == {value}, \"{name}\");\n");
    };
    fact("sizeof(struct tmem_user_pool)", size_of::<abi::PoolInfo>() as u64);
    fact("sizeof(struct tmem_user_op)", size_of::<abi::Op>() as u64);
    fact("sizeof(struct tmem_user_ops)", size_of::<abi::Ops>() as u64);
    fact(
        "offsetof(struct tmem_user_pool, pages_group)",
        std::mem::offset_of!(abi::PoolInfo, pages_group) as u64,
    );
    fact("offsetof(struct tmem_user_op, status)", std::mem::offset_of!(abi::Op, status) as u64);
    fact("TMEM_USER_IOC_POOL", abi::IOC_POOL);
    fact("TMEM_USER_IOC_INFO", abi::IOC_INFO);
    fact("TMEM_USER_IOC_OP", abi::IOC_OP);
    fact("TMEM_USER_IOC_OPS", abi::IOC_OPS);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("layout.c");
    std::fs::write(&file, source).unwrap();
    check("cc", "-std=c11", &file);
}
