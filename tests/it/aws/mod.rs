//! The deployment without an account: `tests/run --aws` installs AWS's tools and emulators, builds the functions as AWS runs
//! them, and asks for these tests.
//!
//! MiniStack 1.5 plays AWS: its CloudFormation takes template.yaml as `sam deploy` sends it, runs the `provided.al2023`
//! binaries as processes, authorizes requests by the `auth` function, evaluates each function's policies, polls the queues
//! with partial failures, and fires the schedules. What it can't do is said by the run, in a line each, and shown elsewhere:
//!
//! | gap of MiniStack | what the test does | where it is shown instead |
//! |---|---|---|
//! | `x-amazon-apigateway-any-method`, and gateway responses in the API's body, do not arrive | `peers/python/ministack.py routes` adds them from the built template's own body | the static tests of the template |
//! | CloudFormation refuses alarms on metric math | they are left out of the stack | the static tests of the template, `cfn-lint` |
//! | CloudFormation knows no `WebACLAssociation` | `AddressRateLimit=0`: no firewall | the same |
//! | a secret's `Ref` is its name and not its ARN | `peers/python/ministack.py template` writes `Id` in its place | the static tests of the template |
//! | it knows no `kms:EncryptionContextKeys` | the condition is left out of the policies | the same |
//! | the concurrency of an event source by parameter is a text | its default is written in its place | the same |
//! | it takes `/health` under any domain for its own | it is asked by the stage's address | – |
//! | it is not at port 443 | the port is put into the URL that a CRM is given | – |
//! | arm64 | x86_64 binaries | `tests/run --long` packages for arm64 |

mod call;
mod compose;
mod recorded;
