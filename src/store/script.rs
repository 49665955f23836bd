//! The Lua scripts, compiled into the binary.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!(concat!("lua/", $file))));)*
    };
}

scripts! {
    PUSH = "push.lua";
    ACK = "ack.lua";
    WAIT = "wait.lua";
    PARK = "park.lua";
    DONE = "done.lua";
    MARK = "mark.lua";
    DEAD = "dead.lua";
    DEAD_PAGE = "dead_page.lua";
    PROMOTE = "promote.lua";
    REPLAY = "replay.lua";
    CREATE = "create.lua";
    STRAYS = "strays.lua";
    WEBHOOK_SET = "webhook_set.lua";
    WEBHOOK_SWAP = "webhook_swap.lua";
    BEAT = "beat.lua";
    TAKE_OVER = "take_over.lua";
    LEAVE = "leave.lua";
    ALONE = "alone.lua";
    RELEASE = "release.lua";
    UNPARK = "unpark.lua";
    PARKS = "parks.lua";
    TELL = "tell.lua";
    RECLAIM = "reclaim.lua";
    PAUSE = "pause.lua";
}
