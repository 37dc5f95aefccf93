//! `tmem control` against a socket whose other end is this test.
#![allow(clippy::unwrap_used)] // a test may fail loudly

use std::path::Path;
use std::process::Command;

use tmem_vmm::control::{Request, Server};

/// Runs `tmem control SOCKET ARGS`; its status, standard output and standard error.
fn control(socket: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tmem")).arg("control").arg(socket).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A session with one guest, whose name is `a` and which tells what it was asked.
fn session(socket: &Path) -> Server {
    Server::start(socket, |request| match &request {
        Request::Freeze { guest } if guest != "a" => Err(format!("no guest `{guest}`: there are a")),
        _ => Ok(serde_json::json!({ "name": "a", "asked": request })),
    })
    .unwrap()
}

#[test]
fn words_when_on_the_command_line_arrive_as_requests() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control");
    let _session = session(&socket);
    for (words, request) in [
        ("guests", r#"{"do":"guests"}"#),
        ("balloon a 16M", r#"{"bytes":16777216,"do":"balloon","guest":"a"}"#),
        ("resize a disk0 1G", r#"{"bytes":1073741824,"disk":"disk0","do":"resize","guest":"a"}"#),
        ("resize a disk0", r#"{"bytes":null,"disk":"disk0","do":"resize","guest":"a"}"#),
        ("cap a none", r#"{"bytes":null,"do":"cap","guest":"a"}"#),
        ("share a --weight 7", r#"{"do":"share","guest":"a","reservation_bytes":null,"weight":7}"#),
        ("freeze a", r#"{"do":"freeze","guest":"a"}"#),
        ("thaw a", r#"{"do":"thaw","guest":"a"}"#),
    ] {
        let args: Vec<&str> = words.split(' ').chain(["--json"]).collect();
        let (status, said, wrong) = control(&socket, &args);
        assert_eq!((status, wrong.as_str()), (Some(0), ""), "{words}");
        assert_eq!(said, format!("{{\"asked\":{request},\"name\":\"a\"}}\n"));
    }
}

#[test]
fn text_when_wanted_is_a_line_about_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control");
    let _session = session(&socket);
    assert_eq!(control(&socket, &["thaw", "a"]).1, "a: 0 sectors read, 0 written\n");
}

#[test]
fn mistakes_when_made_are_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control");
    let (status, _, why) = control(&socket, &["guests"]);
    assert_eq!(status, Some(1));
    assert!(why.contains("No such file") && why.contains("is `tmem run --control"), "{why}");
    let _session = session(&socket);
    assert_eq!(control(&socket, &["freeze", "b"]).2, "tmem control: no guest `b`: there are a\n");
    for (words, why) in [
        ("balloon a lots", "`lots` is not a size"),
        ("cap a all", "or `none`"),
        ("share a", "give --reservation or --weight"),
        ("halt a", "no command `halt`: guests, stop, balloon, resize, cap, share, freeze, thaw"),
        ("balloon a", "<SIZE>"),
    ] {
        let (status, _, said) = control(&socket, &words.split(' ').collect::<Vec<_>>());
        assert!(status == Some(2) && said.contains(why), "{words}: {said}");
    }
}
