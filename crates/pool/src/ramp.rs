//! A slow start: the share of a server that has just come up grows step by step.
use std::time::{Duration, Instant};

/// Steps of a ramp. Each is a change of the service's table, so there are few.
const STEPS: u32 = 10;

/// How much of its weight a server gets, per cent, this long after it came up.
pub fn ramp(slow_start: Duration, since_up: Duration) -> u16 {
    if since_up >= slow_start {
        return 100;
    }
    let step = (since_up.as_nanos() * u128::from(STEPS) / slow_start.as_nanos().max(1)) as u16;
    (step + 1) * (100 / STEPS as u16)
}

/// When the share changes next; none once it is whole.
pub fn next_step(slow_start: Duration, up_since: Instant, now: Instant) -> Option<Instant> {
    let since = now.saturating_duration_since(up_since);
    let step = (0..=STEPS).map(|step| slow_start * step / STEPS).find(|at| *at > since)?;
    Some(up_since + step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_in_ten_steps() {
        let slow = Duration::from_secs(30);
        let at = |seconds| ramp(slow, Duration::from_secs(seconds));
        assert_eq!([0, 2, 3, 15, 29, 30, 99].map(at), [10, 10, 20, 60, 100, 100, 100]);
        let up = Instant::now();
        let next = |seconds| {
            next_step(slow, up, up + Duration::from_secs(seconds)).map(|at| at.duration_since(up).as_secs())
        };
        assert_eq!([0, 2, 3, 29, 30].map(next), [Some(3), Some(3), Some(6), Some(30), None]);
    }

    #[test]
    fn a_step_that_is_due_changes_the_share() {
        let slow = Duration::from_millis(1234);
        let up = Instant::now();
        let (mut now, mut shares) = (up, vec![ramp(slow, Duration::ZERO)]);
        while let Some(next) = next_step(slow, up, now) {
            now = next;
            shares.push(ramp(slow, now.duration_since(up)));
        }
        assert_eq!(shares, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100]);
    }
}
