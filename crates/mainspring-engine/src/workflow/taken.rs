//! Places of an inbox that were taken: a few ranges, however many places.

use std::collections::BTreeMap;

use serde_json::{Value, json};

#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<i64, i64>);

impl Taken {
    /// Takes a place.
    pub(super) fn add(&mut self, place: i64) {
        self.add_range(place, place);
    }

    /// Takes all from `first` to `last`, both included.
    fn add_range(&mut self, mut first: i64, mut last: i64) {
        if let Some((&begin, &end)) = self.0.range(..=first).next_back()
            && end >= first - 1
        {
            first = begin;
            last = last.max(end);
        }
        while let Some((&begin, &end)) = self.0.range(first..=last + 1).next() {
            self.0.remove(&begin);
            last = last.max(end);
        }
        self.0.insert(first, last);
    }

    /// Takes what another one took.
    pub(super) fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|(first, last)| self.add_range(first, last));
    }

    pub(super) fn contains(&self, place: i64) -> bool {
        self.0.range(..=place).next_back().is_some_and(|(_, last)| *last >= place)
    }

    /// As pairs of the first and the last of each range.
    pub(super) fn to_json(&self) -> Value {
        json!(self.0.iter().collect::<Vec<_>>())
    }

    pub(super) fn read(ranges: &Value) -> Self {
        let mut taken = Self::default();
        for range in ranges.as_array().into_iter().flatten() {
            if let (Some(first), Some(last)) = (range[0].as_i64(), range[1].as_i64()) {
                taken.add_range(first, last);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_next_to_each_other_is_one_range() {
        let mut taken = Taken::default();
        for place in [5, 1, 3, 9, 2, 4, 4, 8] {
            taken.add(place);
        }
        assert_eq!(taken.to_json(), json!([[1, 5], [8, 9]]));
        let mut again = Taken::read(&taken.to_json());
        again.extend(Taken::read(&json!([[6, 7], [20, 30]])));
        assert_eq!(again.to_json(), json!([[1, 9], [20, 30]]));
        assert!(again.contains(7) && again.contains(30) && !again.contains(10) && !again.contains(0));
    }
}
