//! Merges the resources that an update asks for into those that a container has.

use crate::spec::plan::{BlockIo, Cpu, Memory, Network, Pids, Rdma, Resources};

/// Sets in `all` each field that `asked` sets. A list replaces the old list as a whole. A
/// map is merged key by key.
pub fn merge(all: &mut Resources, asked: &Resources) {
    let Resources { memory, cpu, pids, block_io, hugepage_limits, network, rdma, unified } = asked;
    merge_memory(&mut all.memory, memory);
    merge_cpu(&mut all.cpu, cpu);
    let Pids { limit } = pids;
    set(&mut all.pids.limit, limit);
    merge_block_io(&mut all.block_io, block_io);
    set_list(&mut all.hugepage_limits, hugepage_limits);
    let Network { class_id, priorities } = network;
    set(&mut all.network.class_id, class_id);
    set_list(&mut all.network.priorities, priorities);
    for (device, Rdma { hca_handles, hca_objects }) in rdma {
        let limits = all.rdma.entry(device.clone()).or_default();
        set(&mut limits.hca_handles, hca_handles);
        set(&mut limits.hca_objects, hca_objects);
    }
    all.unified.extend(unified.iter().map(|(file, value)| (file.clone(), value.clone())));
}

fn merge_memory(all: &mut Memory, asked: &Memory) {
    let Memory {
        limit,
        reservation,
        swap,
        kernel,
        kernel_tcp,
        swappiness,
        disable_oom_killer,
        use_hierarchy,
        check_before_update,
    } = asked;
    set(&mut all.limit, limit);
    set(&mut all.reservation, reservation);
    set(&mut all.swap, swap);
    set(&mut all.kernel, kernel);
    set(&mut all.kernel_tcp, kernel_tcp);
    set(&mut all.swappiness, swappiness);
    set(&mut all.disable_oom_killer, disable_oom_killer);
    set(&mut all.use_hierarchy, use_hierarchy);
    set(&mut all.check_before_update, check_before_update);
}

fn merge_cpu(all: &mut Cpu, asked: &Cpu) {
    let Cpu { shares, quota, burst, period, realtime_runtime, realtime_period, cpus, mems, idle } = asked;
    set(&mut all.shares, shares);
    set(&mut all.quota, quota);
    set(&mut all.burst, burst);
    set(&mut all.period, period);
    set(&mut all.realtime_runtime, realtime_runtime);
    set(&mut all.realtime_period, realtime_period);
    set(&mut all.cpus, cpus);
    set(&mut all.mems, mems);
    set(&mut all.idle, idle);
}

fn merge_block_io(all: &mut BlockIo, asked: &BlockIo) {
    let BlockIo {
        weight,
        leaf_weight,
        weight_device,
        throttle_read_bps_device,
        throttle_write_bps_device,
        throttle_read_iops_device,
        throttle_write_iops_device,
    } = asked;
    set(&mut all.weight, weight);
    set(&mut all.leaf_weight, leaf_weight);
    set_list(&mut all.weight_device, weight_device);
    set_list(&mut all.throttle_read_bps_device, throttle_read_bps_device);
    set_list(&mut all.throttle_write_bps_device, throttle_write_bps_device);
    set_list(&mut all.throttle_read_iops_device, throttle_read_iops_device);
    set_list(&mut all.throttle_write_iops_device, throttle_write_iops_device);
}

#[allow(clippy::ref_option, reason = "the fields are borrowed")]
fn set<T: Clone>(field: &mut Option<T>, asked: &Option<T>) {
    if asked.is_some() {
        field.clone_from(asked);
    }
}

fn set_list<T: Clone>(field: &mut Vec<T>, asked: &[T]) {
    if !asked.is_empty() {
        *field = asked.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{encode_resources, parse_resources, resources};
    use serde_json::json;

    fn resources(json: serde_json::Value) -> Resources {
        let given = parse_resources(json.to_string().as_bytes(), &mut Vec::new()).expect("resources");
        resources::convert(&given, "").expect("accepted")
    }

    /// Every field.
    fn all() -> serde_json::Value {
        let rate = json!([{ "major": 8, "minor": 0, "rate": 7 }]);
        json!({
            "memory": {
                "limit": 5, "reservation": 3, "swap": -1, "kernel": 0, "kernelTCP": 0, "swappiness": 0,
                "disableOOMKiller": false, "useHierarchy": true, "checkBeforeUpdate": true,
            },
            "cpu": {
                "shares": 2, "quota": 9, "burst": 0, "period": 10, "realtimeRuntime": -1,
                "realtimePeriod": 4, "cpus": "0", "mems": "1", "idle": 0,
            },
            "pids": { "limit": -1 },
            "blockIO": {
                "weight": 10, "leafWeight": 11,
                "weightDevice": [{ "major": 8, "minor": 0, "weight": 0, "leafWeight": 5 }],
                "throttleReadBpsDevice": rate, "throttleWriteBpsDevice": rate,
                "throttleReadIOPSDevice": rate, "throttleWriteIOPSDevice": rate,
            },
            "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }],
            "network": { "classID": 0, "priorities": [{ "name": "lo", "priority": 0 }] },
            "rdma": { "mlx": { "hcaHandles": 0, "hcaObjects": 1 } },
            "unified": { "memory.high": "1" },
        })
    }

    #[test]
    fn every_field_is_merged() {
        let mut merged = Resources::default();
        merge(&mut merged, &resources(all()));
        assert_eq!(encode_resources(&merged).expect("JSON"), all());
        merge(&mut merged, &Resources::default());
        assert_eq!(merged, resources(all()));
    }

    #[test]
    fn objects_are_merged_and_lists_replaced() {
        let pages = |size: &str| json!({ "pageSize": size, "limit": 1 });
        let mut old = resources(json!({
            "memory": { "limit": 5, "swap": 7 }, "hugepageLimits": [pages("2MB"), pages("1GB")],
            "rdma": { "mlx": { "hcaHandles": 3 } }, "unified": { "a": "1" },
        }));
        merge(
            &mut old,
            &resources(json!({
                "memory": { "limit": 6, "swap": null }, "hugepageLimits": [pages("64KB")], "pids": {},
                "rdma": { "mlx": { "hcaObjects": 4 } }, "unified": { "b": "2" },
            })),
        );
        let merged = json!({
            "memory": { "limit": 6, "swap": 7 }, "hugepageLimits": [pages("64KB")],
            "rdma": { "mlx": { "hcaHandles": 3, "hcaObjects": 4 } }, "unified": { "a": "1", "b": "2" },
        });
        assert_eq!(encode_resources(&old).expect("JSON"), merged);
    }
}
