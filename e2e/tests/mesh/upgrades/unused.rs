//! A broken release where nobody uses the mesh: the operator's own probe has to see it. The others are in `make chaos`.

use e2e::caught::Expected;
use e2e::images::broken::Broken;
use e2e::stage::Stage;

use crate::fixture::{INSTALL, MEMBER, left, on_stage};
use crate::upgrades::overlap::broken::{caught, fresh};

#[test]
fn a_proxy_that_refuses_connections_is_caught_where_nobody_uses_the_mesh() {
    on_stage(|stage| async move {
        fresh(stage).await;
        let status = stage.read_member(MEMBER).await.unwrap().status.unwrap();
        let membership = status.membership.unwrap();
        assert_eq!((membership.namespaces, membership.enrolled), (0, 0));
        let broken = Broken::RefusingProxy;
        let caught = caught(stage, broken).await;
        eprintln!("{broken:?}: {caught}");
        let differences = caught.differences(Expected::without_users(broken));
        assert_eq!(differences, [""; 0]);
        stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
        (stage
            .until_condition(MEMBER, "UpToDate", "True", INSTALL)
            .await)
            .unwrap();
        stage.until_probe_gone(INSTALL).await.unwrap();
        left(stage).await;
    });
}
