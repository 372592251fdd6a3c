// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IWatchdogRegistry
/// @notice Who has to confirm an authority's batches before they count, and which were confirmed.
/// @dev An authority is watched from a serial on, for ever: who watches may change, that it is watched may not (another
/// authority is the way out). A batch below that serial, and every batch of an authority that nobody watches, counts by
/// being anchored. A watched batch counts from when watchdogs of the threshold's weight confirmed it, and then for ever.
/// Watchdogs confirm by calls or by EIP-712 signatures (domain name "dpki WatchdogRegistry", version "1") that others
/// bring: 65 bytes, r ‖ s ‖ v, with low s, over `Confirmation(bytes32 ca,uint32 version,uint32 firstSerial,bytes32
/// commitment,address watchdog,uint256 deadline)`, `version` being the watch's: a change of watchdogs voids what was
/// signed and not brought.
///
/// Every function that names an authority reverts with `WatchdogRegistryUnknownAuthority` when it is not registered,
/// before the caller is looked at; `relay` and the views are the exceptions.
interface IWatchdogRegistry {
    /// @notice One that watches.
    /// @dev `account` and `weight` share the first word, `account` lowest.
    /// @param account Who confirms and objects: a key's or a contract's address; signatures are of keys alone.
    /// @param weight What its confirmation weighs, at least 1.
    /// @param sealingKey X25519 public key that certificates for review are sealed for.
    struct Watchdog {
        address account;
        uint32 weight;
        bytes32 sealingKey;
    }

    /// @notice How an authority is watched; all zero when it is not.
    /// @dev One word, `version` lowest.
    /// @param version Rises by one with every change; what was confirmed in part under another version is void.
    /// @param firstSerial The first serial that has to be confirmed; it never changes.
    /// @param threshold The weight that has to confirm.
    /// @param total The weight of all its watchdogs.
    struct Watch {
        uint32 version;
        uint32 firstSerial;
        uint32 threshold;
        uint32 total;
    }

    /// @notice How far a batch is.
    /// @dev One word under (ca, firstSerial), `version` lowest. As it was written last: while `confirmed` is not set and
    /// `version` is not the watch's, the rest is void.
    /// @param version The watch's version that the rest is of.
    /// @param weight The weight that confirmed.
    /// @param confirmations Bit `n` is set when the watchdog at `n` in the list confirmed.
    /// @param objections Bit `n` is set when the watchdog at `n` objected; it can not confirm any more.
    /// @param confirmed Whether the threshold was reached: for ever, whatever the rest says.
    struct Progress {
        uint32 version;
        uint32 weight;
        uint32 confirmations;
        uint32 objections;
        bool confirmed;
    }

    /// @notice A confirmation that its watchdog signed and anyone brings.
    /// @param ca The authority.
    /// @param firstSerial The first serial of the batch.
    /// @param commitment The batch's commitment in the certificate registry.
    /// @param watchdog Who confirms.
    /// @param deadline The last second in which the signature is good.
    /// @param signature The watchdog's.
    struct Confirmation {
        bytes32 ca;
        uint32 firstSerial;
        bytes32 commitment;
        address watchdog;
        uint256 deadline;
        bytes signature;
    }

    /// @notice Why a relayed confirmation was skipped.
    /// @dev NotAWatchdog: not of this authority, now. NothingChanged: the batch has
    /// nothing to wait for (not watched, or accepted), or this watchdog confirmed it before. UnknownBatch: none begins
    /// there, or another one does. Late: the deadline has passed. InvalidSignature: not the watchdog's of this message,
    /// version, chain and contract, or not 65 bytes with low s. Objected: it objected since.
    enum Skipped {
        NotAWatchdog,
        UnknownBatch,
        Late,
        InvalidSignature,
        NothingChanged,
        Objected
    }

    /// @notice `watchdogs` watch the authority from here on, and nobody else.
    event WatchChanged(
        bytes32 indexed ca, uint32 version, uint32 firstSerial, uint32 threshold, Watchdog[] watchdogs
    );

    /// @notice The operator laid out a batch's certificates, sealed for the watchdogs: `parcels` are the digests.
    event ReviewRequested(bytes32 indexed ca, uint32 indexed firstSerial, bytes32[] parcels);

    /// @notice A watchdog confirmed a batch; its confirmation weighs `weight`.
    event BatchConfirmed(bytes32 indexed ca, uint32 indexed firstSerial, address indexed watchdog, uint32 weight);

    /// @notice A watchdog objected to a batch. Where it had confirmed, that no longer counts; once the batch was
    /// accepted an objection is only heard.
    event BatchObjected(bytes32 indexed ca, uint32 indexed firstSerial, address indexed watchdog, string reason);

    /// @notice A relayed confirmation did not count.
    event ConfirmationSkipped(
        bytes32 indexed ca, uint32 indexed firstSerial, address indexed watchdog, Skipped reason
    );

    /// @notice Enough of them confirmed: the batch counts from here on.
    event BatchAccepted(bytes32 indexed ca, uint32 indexed firstSerial);

    /// @notice The caller does not hold the role that the function asks for.
    error WatchdogRegistryUnauthorized(address caller);

    /// @notice There is no such authority.
    error WatchdogRegistryUnknownAuthority(bytes32 ca);

    /// @notice An authority is watched by 1 to 32.
    error WatchdogRegistryInvalidWatchdogs(uint256 count);

    /// @notice A watchdog has an account, a weight and a sealing key.
    error WatchdogRegistryInvalidWatchdog(address account, uint32 weight, bytes32 sealingKey);

    /// @notice This account stands in the list twice.
    error WatchdogRegistryDuplicateWatchdog(address account);

    /// @notice The threshold is zero or more than all of them weigh, or all of them weigh more than 32 bits hold.
    error WatchdogRegistryInvalidThreshold(uint32 threshold, uint256 total);

    /// @notice The authority is not watched, or not from this serial on: there is nothing to confirm.
    error WatchdogRegistryNotWatched(bytes32 ca, uint32 firstSerial);

    /// @notice No batch begins there, or another one does.
    error WatchdogRegistryUnknownBatch(bytes32 ca, uint32 firstSerial, bytes32 commitment);

    /// @notice The watchdog confirmed before, or the batch was accepted without it.
    error WatchdogRegistryAlreadyConfirmed(bytes32 ca, uint32 firstSerial, address watchdog);

    /// @notice The watchdog objected before.
    error WatchdogRegistryObjected(bytes32 ca, uint32 firstSerial, address watchdog);

    /// @notice A review has 1 to 16 parcels.
    error WatchdogRegistryInvalidParcels(uint256 count);

    /// @notice A reason has at most 256 bytes.
    error WatchdogRegistryReasonTooLong(uint256 length);

    /// @notice Names who watches `ca`, from its next serial on (or from where it is watched already).
    /// @dev Only the governor, in every state of the authority. What was confirmed in part has to be confirmed anew.
    /// @param ca The authority.
    /// @param watchdogs_ All of them, 1 to 32.
    /// @param threshold The weight that has to confirm: at least 1, at most the weights' sum.
    function setWatch(bytes32 ca, Watchdog[] calldata watchdogs_, uint32 threshold) external;

    /// @notice Lays out a batch's certificates for review. It may be said again, with other parcels.
    /// @dev Only the authority's operator.
    /// @param ca The authority.
    /// @param firstSerial The first serial of a batch that has to be confirmed.
    /// @param parcels Digests of the sealed certificates, 1 to 16.
    function requestReview(bytes32 ca, uint32 firstSerial, bytes32[] calldata parcels) external;

    /// @notice Confirms a batch.
    /// @dev Only a watchdog of the authority. `commitment` names the very batch, so that a reorg can not put another one
    /// under it.
    function confirm(bytes32 ca, uint32 firstSerial, bytes32 commitment) external;

    /// @notice Objects to a batch: the watchdog can not confirm it any more, signed before or not, and where it did, it
    /// no longer counts. Once the batch was accepted an objection is heard and changes nothing.
    /// @dev Only a watchdog of the authority. It holds until the governor names the watchdogs anew.
    /// @param ca The authority.
    /// @param firstSerial The first serial of the batch.
    /// @param commitment The batch's commitment.
    /// @param reason For people, at most 256 bytes.
    function object(bytes32 ca, uint32 firstSerial, bytes32 commitment, string calldata reason) external;

    /// @notice Brings signed confirmations. One that does not count is skipped, with an event, and the rest goes on.
    function relay(Confirmation[] calldata confirmations) external;

    /// @notice How `ca` is watched.
    function watch(bytes32 ca) external view returns (Watch memory);

    /// @notice Who watches `ca`, in the order of the bits in `Progress`.
    function watchdogs(bytes32 ca) external view returns (Watchdog[] memory);

    /// @notice How far the batch at `firstSerial` is, as it was written last.
    function progress(bytes32 ca, uint32 firstSerial) external view returns (Progress memory);

    /// @notice Whether nothing is missing for the batch at `firstSerial` to count. Says nothing of whether it exists.
    function isConfirmed(bytes32 ca, uint32 firstSerial) external view returns (bool);
}
