//! Text of errors and of other programs' messages, as one line and without credentials.

/// Returns the messages of an error and of its sources, separated by colons.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = without_errno(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some libraries repeat the source's message in their own.
        let next = without_errno(error);
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Returns the message of an error without the ` (os error N)` that the standard library appends.
fn without_errno(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((message, number)) if number.ends_with(')') => message.to_owned(),
        _ => text,
    }
}

/// Returns another program's message without credentials. containerd's messages may quote its configuration, which may
/// contain passwords.
pub(crate) fn redact_message(text: &str) -> String {
    mirrorshift_containerd::redact::free_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_chain_has_each_cause_once_and_no_errno() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::from_raw_os_error(13));
        assert_eq!(error_chain(&error), "cannot connect: Permission denied");
    }

    #[test]
    fn redact_message_removes_the_user_info_of_urls() {
        assert_eq!(
            redact_message("cannot parse `https://me:secret@host/v2`"),
            "cannot parse `https://***@host/v2`"
        );
        assert_eq!(
            redact_message("a://u:p@h and b://u:p/q@h, c"),
            "a://***@h and b://***@h, c"
        );
        assert_eq!(
            redact_message("nothing @ here http://host"),
            "nothing @ here http://host"
        );
    }
}
