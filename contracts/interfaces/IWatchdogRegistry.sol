// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IWatchdogRegistry
/// @notice Who has to confirm an authority's batches before they count, and which were confirmed.
/// @dev An authority is watched from a serial on, for ever: who watches may change, that it is watched may not (another
/// authority is the way out). A batch below that serial, and every batch of an authority that nobody watches, counts by
/// being anchored. A watched batch counts from when watchdogs of the threshold's weight confirmed it, and then for ever.
interface IWatchdogRegistry {
    /// @notice One that watches.
    /// @param account Who confirms and objects.
    /// @param weight What its confirmation weighs, at least 1.
    /// @param sealingKey X25519 public key that certificates for review are sealed for.
    struct Watchdog {
        address account;
        uint32 weight;
        bytes32 sealingKey;
    }

    /// @notice How an authority is watched; all zero when it is not. One word.
    /// @param version Rises with every change; what was confirmed in part under another version is void.
    /// @param from The first serial that has to be confirmed.
    /// @param threshold The weight that has to confirm.
    /// @param total The weight of all its watchdogs.
    struct Watch {
        uint32 version;
        uint32 from;
        uint32 threshold;
        uint32 total;
    }

    /// @notice How far a batch is; one word, under (ca, firstSerial).
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

    /// @notice A confirmation that its watchdog signed (EIP-712) and anyone brings.
    struct Confirmation {
        bytes32 ca;
        uint32 firstSerial;
        bytes32 commitment;
        address watchdog;
        uint256 deadline;
        bytes signature;
    }

    /// @notice Why a relayed confirmation was skipped.
    enum Skipped {
        NotAWatchdog,
        UnknownBatch,
        Late,
        InvalidSignature,
        NothingChanged,
        Objected
    }

    event WatchChanged(bytes32 indexed ca, uint32 version, uint32 from, uint32 threshold, Watchdog[] watchdogs);
    /// @notice The operator laid out a batch's certificates, sealed for the watchdogs: `parcels` are the digests.
    event ReviewRequested(bytes32 indexed ca, uint32 indexed firstSerial, bytes32[] parcels);
    event BatchConfirmed(bytes32 indexed ca, uint32 indexed firstSerial, address indexed watchdog, uint32 weight);
    event BatchObjected(bytes32 indexed ca, uint32 indexed firstSerial, address indexed watchdog, string reason);
    event ConfirmationSkipped(
        bytes32 indexed ca, uint32 indexed firstSerial, address indexed watchdog, Skipped reason
    );
    /// @notice Enough of them confirmed: the batch counts from here on.
    event BatchAccepted(bytes32 indexed ca, uint32 indexed firstSerial);

    error WatchdogRegistryUnauthorized(address caller);
    error WatchdogRegistryUnknownAuthority(bytes32 ca);
    error WatchdogRegistryInvalidWatchdogs(uint256 count);
    error WatchdogRegistryInvalidWatchdog(address account, uint32 weight, bytes32 sealingKey);
    error WatchdogRegistryDuplicateWatchdog(address account);
    error WatchdogRegistryInvalidThreshold(uint32 threshold, uint256 total);
    error WatchdogRegistryNotWatched(bytes32 ca, uint32 firstSerial);
    /// @notice No batch begins there, or another one does.
    error WatchdogRegistryUnknownBatch(bytes32 ca, uint32 firstSerial, bytes32 commitment);
    error WatchdogRegistryAlreadyConfirmed(bytes32 ca, uint32 firstSerial, address watchdog);
    error WatchdogRegistryObjected(bytes32 ca, uint32 firstSerial, address watchdog);
    error WatchdogRegistryInvalidParcels(uint256 count);
    error WatchdogRegistryReasonTooLong(uint256 length);

    /// @notice Names who watches `ca`, 1 to 32, from its next serial on (or from where it is watched already).
    /// @dev Only the governor. 1 <= threshold <= the weights' sum.
    function setWatch(bytes32 ca, Watchdog[] calldata watchdogs_, uint32 threshold) external;

    /// @notice Lays out a batch's certificates for review.
    /// @dev Only the authority's operator; 1 to 16 parcels.
    function requestReview(bytes32 ca, uint32 firstSerial, bytes32[] calldata parcels) external;

    /// @notice Confirms a batch.
    /// @dev Only a watchdog of the authority. `commitment` names the very batch, so that a reorg can not put another one
    /// under it.
    function confirm(bytes32 ca, uint32 firstSerial, bytes32 commitment) external;

    /// @notice Objects to a batch: the watchdog can not confirm it any more, signed before or not.
    /// @param reason For people, at most 256 bytes.
    function object(bytes32 ca, uint32 firstSerial, bytes32 commitment, string calldata reason) external;

    /// @notice Brings signed confirmations. One that does not count is skipped, with an event, and the rest goes on.
    function relay(Confirmation[] calldata confirmations) external;

    function watch(bytes32 ca) external view returns (Watch memory);
    function watchdogs(bytes32 ca) external view returns (Watchdog[] memory);
    function progress(bytes32 ca, uint32 firstSerial) external view returns (Progress memory);
    /// @notice Whether nothing is missing for the batch at `firstSerial` to count. Says nothing of whether it exists.
    function isConfirmed(bytes32 ca, uint32 firstSerial) external view returns (bool);
}
