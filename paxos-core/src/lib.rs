//! Multi-Paxos roles as pure state machines. (The full introduction comes with the roles.)

pub mod acceptor;
pub mod batch;
pub mod effect;
pub mod heartbeat;
pub mod leadership;
pub mod learner;
pub mod machine;
pub mod membership;
pub mod message;
pub mod proposer;
pub mod quorums;
pub mod random;
pub mod record;
pub mod replica;
pub mod sessions;
pub mod status;
mod term;
mod trace;
pub mod types;
pub mod value;
pub mod view;

pub use acceptor::{Acceptor, AcceptorOptions};
pub use batch::{Operation, Origin, SessionId};
pub use effect::{Change, Effect, Input, Persist, Refusal, Role};
pub use heartbeat::{HeartbeatOptions, HeartbeatPolicy};
pub use leadership::{Elector, Leadership};
pub use learner::{Learner, LearnerOptions};
pub use machine::{Context, RestoreError, StateMachine};
pub use membership::{Configurations, Member, MemberRole, Membership};
pub use message::{
    AcceptorMessage, Envelope, Heartbeat, Inside, Lane, LeadershipMessage, LearnerMessage, Message,
    Promise, ProposerMessage, RoleKind, receivers,
};
pub use proposer::{Proposer, ProposerOptions};
pub use quorums::Quorums;
pub use random::Random;
pub use record::{PeerRun, Record, Recovered};
pub use replica::{Applied, Outcome, Replica};
pub use sessions::Rejection;
pub use status::Status;
pub use types::{Ballot, ClusterId, NodeId, Slot, Time};
pub use value::{Batch, Reconfigure, Value};
