//! Redis and PostgreSQL that misbehave, on real loopback sockets.
#![cfg(all(feature = "redis", feature = "postgres"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its server has failed")]

mod calm;

use std::time::Duration;

use heartbeat_probe::{PostgresProbe, Probe, RedisProbe};
use heartbeat_status::{CheckResult, DegradedReason, FailReason, Outcome, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);
const DEGRADED: Outcome = Outcome::Degraded(DegradedReason::BadCredentials);

const fn fail(reason: FailReason) -> Outcome {
    Outcome::Fail { reason, phase: Some(ProbePhase::FirstByte) }
}

/// A server that answers every piece that it reads with the next of `answers`, and then stays silent.
async fn answers(answers: &[&[u8]]) -> String {
    let answers: Vec<Vec<u8>> = answers.iter().map(|answer| answer.to_vec()).collect();
    server(move |mut stream| {
        let answers = answers.clone();
        async move {
            for answer in answers {
                if stream.read(&mut [0; 4096]).await.unwrap_or(0) == 0 {
                    return;
                }
                let _ = stream.write_all(&answer).await;
            }
            while matches!(stream.read(&mut [0; 4096]).await, Ok(read) if read > 0) {}
        }
    })
    .await
}

async fn server<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    address
}

fn redis(address: &str) -> RedisProbe {
    RedisProbe::new(&format!("redis://{address}")).unwrap()
}

fn postgres(address: &str) -> PostgresProbe {
    PostgresProbe::new(&format!("postgres://shop@{address}")).unwrap()
}

async fn measured(probe: impl Into<Probe>) -> CheckResult {
    let result = probe.into().measure(LONG).await;
    assert!(result.finished_at.since(result.started_at) < LONG / 2, "found out at the deadline: {result:?}");
    result
}

#[tokio::test]
async fn redis_says_pong_before_or_after_a_login() {
    assert_eq!(measured(redis(&answers(&[b"+PONG\r\n"]).await)).await.outcome, Outcome::Pass);
    let login = redis(&answers(&[b"+OK\r\n", b"+PONG\r\n"]).await).with_password("x");
    assert_eq!(measured(login).await.outcome, Outcome::Pass);
    let wrong = redis(&answers(&[b"-WRONGPASS invalid username-password pair\r\n"]).await).with_password("x");
    let result = measured(wrong).await;
    assert_eq!(result.outcome, DEGRADED, "{result:?}");
    assert!(result.detail.starts_with("answers, but refuses the login: WRONGPASS"), "{}", result.detail);
    const NOAUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";
    let without = redis(&answers(&[NOAUTH]).await);
    assert_eq!(measured(without).await.outcome, Outcome::Pass);
    let depth = ["LLEN", "jobs"].map(str::to_owned).to_vec();
    let unasked = redis(&answers(&[NOAUTH]).await).with_command(depth, "< 100").unwrap();
    let result = measured(unasked).await;
    assert_eq!(
        (result.outcome, &*result.detail),
        (fail(FailReason::ConditionMissing), "answers, and wants a password: LLEN jobs did not run")
    );
}

/// A restart would lose what the server is at: it is loading its data, or a script keeps it busy.
#[tokio::test]
async fn a_redis_that_loads_or_is_busy_is_not_down() {
    let starts = fail(FailReason::StartingUp);
    for (reply, outcome) in [
        (&b"-LOADING Redis is loading the dataset in memory\r\n"[..], starts),
        (b"-BUSY Redis is busy running a script.\r\n", Outcome::Degraded(DegradedReason::ReportedDegraded)),
        (b"-MASTERDOWN Link with MASTER is down.\r\n", Outcome::Degraded(DegradedReason::ReportedDegraded)),
    ] {
        let said = String::from_utf8_lossy(&reply[1..reply.len() - 2]);
        let result = measured(redis(&answers(&[reply]).await)).await;
        assert_eq!((result.outcome, &*result.detail), (outcome, &*said), "its own words");
    }
    let login = redis(&answers(&[b"-LOADING Redis is loading the dataset in memory\r\n"]).await);
    assert_eq!(measured(login.with_password("x")).await.outcome, starts);
}

#[tokio::test]
async fn the_depth_of_a_queue_is_a_condition() {
    let command = || vec!["LLEN".to_owned(), "celery".to_owned()];
    for (reply, outcome, detail) in [
        (&b":7\r\n"[..], Outcome::Pass, "LLEN celery: 7"),
        (b":100\r\n", fail(FailReason::ConditionFailed), "LLEN celery: 100 is not < 100"),
        (b"$-1\r\n", fail(FailReason::ConditionMissing), "LLEN celery: no value"),
        (b"-WRONGTYPE x\r\n", fail(FailReason::ConditionFailed), "LLEN celery: WRONGTYPE x"),
        (b"$2\r\n42\r\n", Outcome::Pass, "LLEN celery: 42"),
        (b"*3\r\n", fail(FailReason::ConditionFailed), "LLEN celery: a list of 3 is not a number"),
    ] {
        let address = answers(&[b"+PONG\r\n", reply]).await;
        let result = measured(redis(&address).with_command(command(), "< 100").unwrap()).await;
        assert_eq!((result.outcome, result.detail.as_str()), (outcome, detail));
    }
}

#[tokio::test]
async fn a_redis_that_is_none_or_has_no_end_is_found_out() {
    for junk in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\r\n", b"?\r\n", b":x\r\n"] {
        let result = measured(redis(&answers(&[junk]).await)).await;
        assert_eq!(result.outcome, fail(FailReason::Protocol), "{junk:?}: {result:?}");
    }
    // A line without an end, and a bulk text that is announced as larger than any answer.
    let endless =
        server(|mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} }).await;
    assert_eq!(measured(redis(&endless)).await.outcome, fail(FailReason::Protocol));
    let huge = answers(&[b"+PONG\r\n", b"$999999999\r\n"]).await;
    let result =
        measured(redis(&huge).with_command(vec!["GET".to_owned(), "x".to_owned()], "y").unwrap()).await;
    assert_eq!(result.outcome, fail(FailReason::BodyTooLarge), "{result:?}");
    let result = calm::measured(&redis(&answers(&[]).await).into(), SHORT).await;
    assert_eq!(result.outcome, fail(FailReason::HeadersTimeout), "{result:?}");
    let (said, why) = ("accepted the connection, but no answer within ", ": all workers busy?");
    assert!(result.detail.starts_with(said) && result.detail.ends_with(why), "{}", result.detail);
}

const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const READY: &[u8] = b"Z\0\0\0\x05I";
const STARTING: &[u8] = b"E\0\0\0\x1bSFATAL\0C57P03\0Mstarting\0\0";

#[tokio::test]
async fn a_session_that_is_let_in_is_not_yet_served() {
    let ready = answers(&[&[LET_IN, READY].concat()]).await;
    assert_eq!(measured(postgres(&ready)).await.outcome, Outcome::Pass);
    let hangs = calm::measured(&postgres(&answers(&[LET_IN]).await).into(), SHORT).await;
    assert_eq!(hangs.outcome, fail(FailReason::HeadersTimeout), "{hangs:?}");
    let result = measured(postgres(&answers(&[&[LET_IN, STARTING].concat()]).await)).await;
    assert_eq!((result.outcome, result.detail.as_str()), (fail(FailReason::StartingUp), "starting"));
    let closes = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(LET_IN).await;
    })
    .await;
    assert!(matches!(measured(postgres(&closes)).await.outcome, Outcome::Fail { .. }));
}

#[tokio::test]
async fn a_postgres_whose_messages_have_no_end_is_found_out() {
    // Notices without end, one that is announced as larger than any message, and one that ends in its middle.
    let endless = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        while stream.write_all(&b"N\0\0\0\x05\0".repeat(512)).await.is_ok() {}
    });
    let huge = answers(&[b"N\x7f\xff\xff\xff"]);
    let cut = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"N\0\0\0\xffhalf").await;
    });
    for address in [endless.await, huge.await, cut.await] {
        let result = measured(postgres(&address)).await;
        assert_eq!(result.outcome, fail(FailReason::Protocol), "{result:?}");
    }
}

#[tokio::test]
async fn credentials_that_a_server_does_not_take_are_no_outage() {
    let md5 = answers(&[b"R\0\0\0\x0c\0\0\0\x05salt"]).await;
    assert_eq!(measured(postgres(&md5)).await.outcome, Outcome::Pass, "without a password it is not asked");
    let result = measured(postgres(&md5).with_password("x")).await;
    assert!(result.outcome == DEGRADED && result.detail.contains("use scram-sha-256"), "{result:?}");
    let plain = answers(&[b"R\0\0\0\x08\0\0\0\x03"]).await;
    let result = measured(postgres(&plain).with_password("x")).await;
    assert!(result.outcome == DEGRADED && result.detail.contains("by TLS only"), "{result:?}");
    // A server that does not know the password, but pretends to.
    let scram =
        answers(&[b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", b"R\0\0\0\x16\0\0\0\x0br=x,s=eA==,i=1"]).await;
    let result = measured(postgres(&scram).with_password("x")).await;
    assert_eq!(result.outcome, fail(FailReason::Protocol), "{result:?}");
    let wrong = answers(&[b"E\0\0\0\x17SFATAL\0C28P01\0Mno\0\0"]).await;
    assert_eq!(measured(postgres(&wrong).with_password("x")).await.outcome, DEGRADED);
}

#[tokio::test]
async fn a_query_has_one_value() {
    let session = async |rows: &[u8]| answers(&[&[LET_IN, READY].concat(), &[rows, READY].concat()]).await;
    let row = |text: &str| {
        let length = u32::try_from(text.len()).unwrap();
        let body = [&[0, 1], length.to_be_bytes().as_slice(), text.as_bytes()].concat();
        [b"D".as_slice(), &(u32::try_from(body.len()).unwrap() + 4).to_be_bytes(), &body].concat()
    };
    let query = |address: &str| postgres(address).with_query("select 1", "< 100").unwrap();
    let result = measured(query(&session(&row("99")).await)).await;
    assert_eq!((result.outcome, result.detail.as_str()), (Outcome::Pass, "the query yields 99"));
    let result = measured(query(&session(&row("100")).await)).await;
    assert_eq!(result.outcome, fail(FailReason::ConditionFailed), "{result:?}");
    for missing in [&b""[..], b"D\0\0\0\x0a\0\x01\xff\xff\xff\xff"] {
        let result = measured(query(&session(missing).await)).await;
        assert_eq!(result.outcome, fail(FailReason::ConditionMissing), "{result:?}");
    }
    let failing = session(b"E\0\0\0\x19SERROR\0C42P01\0Mno x\0\0").await;
    let result = measured(query(&failing).clone()).await;
    assert_eq!(
        (result.outcome, result.detail.as_str()),
        (fail(FailReason::ConditionFailed), "the query failed: no x")
    );
    // No such database, or a password that the probe does not have: the query did not run.
    for before in [&b"E\0\0\0\x17SFATAL\0C3D000\0Mno\0\0"[..], b"R\0\0\0\x08\0\0\0\x03"] {
        let result = measured(query(&answers(&[before]).await)).await;
        assert_eq!(result.outcome, fail(FailReason::ConditionMissing), "{result:?}");
        assert!(result.detail.ends_with("but the query did not run"), "{}", result.detail);
        assert_eq!(measured(postgres(&answers(&[before]).await)).await.outcome, Outcome::Pass);
    }
    let endless = server(move |mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(&[LET_IN, READY].concat()).await;
        let row = b"D\0\0\0\x0b\0\x01\0\0\0\x017";
        while stream.write_all(row).await.is_ok() {}
    })
    .await;
    assert_eq!(measured(query(&endless)).await.outcome, fail(FailReason::BodyTooLarge));
}
