// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {DomainPart} from "./DomainPart.sol";
import {ICertificateRegistry} from "./interfaces/ICertificateRegistry.sol";
import {ITrustDomain} from "./interfaces/ITrustDomain.sol";
import {IWatchdogRegistry} from "./interfaces/IWatchdogRegistry.sol";

/// @title WatchdogRegistry
/// @notice Who has to confirm an authority's batches before they count, and which were confirmed.
/// @dev Invariants:
/// I1. Only the governor names watchdogs.
/// I2. A watched authority has 1 to 32 watchdogs, no two alike, each of weight at least 1, and a threshold that is at
///     least 1 and that they can reach.
/// I3. Watched is for ever: `version` only rises, and `firstSerial`, the next one when it was set first, never
///     changes.
/// I4. Only a watchdog's own call or signature confirms for it, and only its own call objects.
/// I5. A signature confirms one batch (its commitment), under one version, on one chain, for one contract, up to its
///     deadline.
/// I6. Under one version no watchdog counts twice, and none that objected counts: `weight` is the sum of the weights
///     whose confirmation bit is set, and no bit is set in both words.
/// I7. `confirmed` is set in the moment in which `weight` reaches the threshold, and for ever; naming others voids
///     everything short of it, and nothing else.
/// I8. A relayed confirmation that does not count keeps none of the others from counting.
/// I9. Only what the certificate registry holds can be confirmed: a batch, under its commitment, from the watch's
///     first serial on.
contract WatchdogRegistry is IWatchdogRegistry, DomainPart, EIP712 {
    /// @dev Where a watchdog stands in its authority's list, while `version` is the watch's. One word.
    struct Seat {
        uint32 version;
        uint32 weight;
        uint8 index;
    }

    uint256 internal constant MAXIMUM_WATCHDOGS = 32;
    uint256 internal constant MAXIMUM_PARCELS = 16;
    uint256 internal constant MAXIMUM_REASON_LENGTH = 256;
    bytes32 internal constant CONFIRMATION_TYPE = keccak256(
        "Confirmation(bytes32 ca,uint32 version,uint32 firstSerial,bytes32 commitment,address watchdog,uint256 deadline)"
    );

    mapping(bytes32 ca => Watch) internal _watches;
    mapping(bytes32 ca => Watchdog[]) internal _watchdogs;
    mapping(bytes32 ca => mapping(address account => Seat)) internal _seats;
    mapping(bytes32 ca => mapping(uint256 firstSerial => Progress)) internal _progress;

    constructor(ITrustDomain domain_) DomainPart(domain_) EIP712("dpki WatchdogRegistry", "1") {}

    // -- the governor ----------------------------------------------------------------------------------------------

    /// @inheritdoc IWatchdogRegistry
    function setWatch(bytes32 ca, Watchdog[] calldata watchdogs_, uint32 threshold) external {
        ICertificateRegistry.Issuer memory issuer = _known(ca);
        require(_isGovernor(msg.sender), WatchdogRegistryUnauthorized(msg.sender));
        uint256 count = watchdogs_.length;
        require(count > 0 && count <= MAXIMUM_WATCHDOGS, WatchdogRegistryInvalidWatchdogs(count));
        Watch memory next = _watches[ca];
        if (next.version == 0) next.firstSerial = issuer.nextSerial;
        next.version += 1;

        uint256 total = 0;
        delete _watchdogs[ca];
        for (uint256 i = 0; i < count; ++i) {
            _seat(ca, watchdogs_[i], next.version, uint8(i));
            total += watchdogs_[i].weight;
        }
        require(
            threshold > 0 && threshold <= total && total <= type(uint32).max,
            WatchdogRegistryInvalidThreshold(threshold, total)
        );
        next.threshold = threshold;
        next.total = uint32(total);
        _watches[ca] = next;
        emit WatchChanged(ca, next.version, next.firstSerial, threshold, watchdogs_);
    }

    // -- the operator ----------------------------------------------------------------------------------------------

    /// @inheritdoc IWatchdogRegistry
    function requestReview(bytes32 ca, uint32 firstSerial, bytes32[] calldata parcels) external {
        require(msg.sender == _known(ca).operator, WatchdogRegistryUnauthorized(msg.sender));
        require(_isWatched(_watches[ca], firstSerial), WatchdogRegistryNotWatched(ca, firstSerial));
        require(
            domain.certificates().commitment(ca, firstSerial) != 0, WatchdogRegistryUnknownBatch(ca, firstSerial, 0)
        );
        uint256 count = parcels.length;
        require(count > 0 && count <= MAXIMUM_PARCELS, WatchdogRegistryInvalidParcels(count));

        emit ReviewRequested(ca, firstSerial, parcels);
    }

    // -- the watchdogs ---------------------------------------------------------------------------------------------

    /// @inheritdoc IWatchdogRegistry
    function confirm(bytes32 ca, uint32 firstSerial, bytes32 commitment) external {
        (Watch memory current, Seat memory seat) = _seated(ca, msg.sender);
        Progress memory made = _reviewable(ca, firstSerial, commitment, current);
        uint32 bit = _bit(seat);
        // First: the bits of an accepted batch may be of a list that this watchdog is not in.
        require(
            !made.confirmed && made.confirmations & bit == 0,
            WatchdogRegistryAlreadyConfirmed(ca, firstSerial, msg.sender)
        );
        require(made.objections & bit == 0, WatchdogRegistryObjected(ca, firstSerial, msg.sender));

        _confirm(ca, firstSerial, msg.sender, current, seat, made);
    }

    /// @inheritdoc IWatchdogRegistry
    function object(bytes32 ca, uint32 firstSerial, bytes32 commitment, string calldata reason) external {
        (Watch memory current, Seat memory seat) = _seated(ca, msg.sender);
        Progress memory made = _reviewable(ca, firstSerial, commitment, current);
        uint256 length = bytes(reason).length;
        require(length <= MAXIMUM_REASON_LENGTH, WatchdogRegistryReasonTooLong(length));

        // What counts goes on counting, and its word may be of a list that this watchdog is not in.
        if (!made.confirmed) {
            uint32 bit = _bit(seat);
            require(made.objections & bit == 0, WatchdogRegistryObjected(ca, firstSerial, msg.sender));
            made.objections |= bit;
            if (made.confirmations & bit != 0) {
                made.confirmations &= ~bit;
                made.weight -= seat.weight;
            }
            _progress[ca][firstSerial] = made;
        }
        emit BatchObjected(ca, firstSerial, msg.sender, reason);
    }

    // -- anyone, with the watchdogs' signatures --------------------------------------------------------------------

    /// @inheritdoc IWatchdogRegistry
    function relay(Confirmation[] calldata confirmations) external {
        for (uint256 i = 0; i < confirmations.length; ++i) {
            _relay(confirmations[i]);
        }
    }

    // -- views -----------------------------------------------------------------------------------------------------

    /// @inheritdoc IWatchdogRegistry
    function watch(bytes32 ca) external view returns (Watch memory) {
        return _watches[ca];
    }

    /// @inheritdoc IWatchdogRegistry
    function watchdogs(bytes32 ca) external view returns (Watchdog[] memory) {
        return _watchdogs[ca];
    }

    /// @inheritdoc IWatchdogRegistry
    function progress(bytes32 ca, uint32 firstSerial) external view returns (Progress memory) {
        return _progress[ca][firstSerial];
    }

    /// @inheritdoc IWatchdogRegistry
    function isConfirmed(bytes32 ca, uint32 firstSerial) external view returns (bool) {
        return !_isWatched(_watches[ca], firstSerial) || _progress[ca][firstSerial].confirmed;
    }

    // -- internal --------------------------------------------------------------------------------------------------

    /// @dev The issuer of `ca`, which has to be registered.
    function _known(bytes32 ca) internal view returns (ICertificateRegistry.Issuer memory known) {
        known = domain.certificates().issuer(ca);
        require(known.state != ICertificateRegistry.State.Unregistered, WatchdogRegistryUnknownAuthority(ca));
    }

    /// @dev Gives `watchdog` the seat at `index`.
    function _seat(bytes32 ca, Watchdog calldata watchdog, uint32 version, uint8 index) internal {
        address account = watchdog.account;
        require(
            account != address(0) && watchdog.weight > 0 && watchdog.sealingKey != 0,
            WatchdogRegistryInvalidWatchdog(account, watchdog.weight, watchdog.sealingKey)
        );
        require(_seats[ca][account].version != version, WatchdogRegistryDuplicateWatchdog(account));

        _seats[ca][account] = Seat({version: version, weight: watchdog.weight, index: index});
        _watchdogs[ca].push(watchdog);
    }

    /// @dev How `ca` is watched, and the seat of `account`, which has to be one of its watchdogs.
    function _seated(bytes32 ca, address account) internal view returns (Watch memory current, Seat memory seat) {
        current = _watches[ca];
        // Only what is registered is watched: the common case asks nobody.
        if (current.version == 0) _known(ca);
        seat = _seats[ca][account];
        require(_isSeated(current, seat), WatchdogRegistryUnauthorized(account));
    }

    /// @dev How far the batch is, which has to be there, be this one, and be watched.
    function _reviewable(bytes32 ca, uint32 firstSerial, bytes32 commitment, Watch memory current)
        internal
        view
        returns (Progress memory)
    {
        require(_isWatched(current, firstSerial), WatchdogRegistryNotWatched(ca, firstSerial));
        require(
            _isAnchored(ca, firstSerial, commitment), WatchdogRegistryUnknownBatch(ca, firstSerial, commitment)
        );
        return _made(ca, firstSerial, current);
    }

    /// @dev Counts a signed confirmation, or says why not.
    function _relay(Confirmation calldata given) internal {
        Watch memory current = _watches[given.ca];
        Seat memory seat = _seats[given.ca][given.watchdog];
        if (!_isSeated(current, seat)) return _skip(given, Skipped.NotAWatchdog);
        if (!_isWatched(current, given.firstSerial)) return _skip(given, Skipped.NothingChanged);
        if (!_isAnchored(given.ca, given.firstSerial, given.commitment)) return _skip(given, Skipped.UnknownBatch);
        if (block.timestamp > given.deadline) return _skip(given, Skipped.Late);
        if (!_isSigned(given, current.version)) return _skip(given, Skipped.InvalidSignature);
        Progress memory made = _made(given.ca, given.firstSerial, current);
        uint32 bit = _bit(seat);
        if (made.confirmed || made.confirmations & bit != 0) return _skip(given, Skipped.NothingChanged);
        if (made.objections & bit != 0) return _skip(given, Skipped.Objected);

        _confirm(given.ca, given.firstSerial, given.watchdog, current, seat, made);
    }

    function _skip(Confirmation calldata given, Skipped reason) internal {
        emit ConfirmationSkipped(given.ca, given.firstSerial, given.watchdog, reason);
    }

    /// @dev Adds a watchdog's weight, once it is clear that it counts.
    function _confirm(
        bytes32 ca,
        uint32 firstSerial,
        address watchdog,
        Watch memory current,
        Seat memory seat,
        Progress memory made
    ) internal {
        made.confirmations |= _bit(seat);
        made.weight += seat.weight;
        made.confirmed = made.weight >= current.threshold;
        _progress[ca][firstSerial] = made;
        emit BatchConfirmed(ca, firstSerial, watchdog, seat.weight);
        if (made.confirmed) emit BatchAccepted(ca, firstSerial);
    }

    /// @dev How far the batch is under the current version: what was made in part under another is void.
    function _made(bytes32 ca, uint32 firstSerial, Watch memory current) internal view returns (Progress memory made) {
        made = _progress[ca][firstSerial];
        if (made.version != current.version && !made.confirmed) {
            made = Progress({
                version: current.version, weight: 0, confirmations: 0, objections: 0, confirmed: false
            });
        }
    }

    /// @dev Whether the batch at `firstSerial` is there, and is the one that `commitment` names.
    function _isAnchored(bytes32 ca, uint32 firstSerial, bytes32 commitment) internal view returns (bool) {
        return commitment != 0 && domain.certificates().commitment(ca, firstSerial) == commitment;
    }

    /// @dev Whether the watchdog signed this confirmation, for this version.
    function _isSigned(Confirmation calldata given, uint32 version) internal view returns (bool) {
        bytes32 digest = _hashTypedDataV4(
            keccak256(
                abi.encode(
                    CONFIRMATION_TYPE,
                    given.ca,
                    version,
                    given.firstSerial,
                    given.commitment,
                    given.watchdog,
                    given.deadline
                )
            )
        );
        (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecoverCalldata(digest, given.signature);
        return problem == ECDSA.RecoverError.NoError && signer == given.watchdog;
    }

    function _isWatched(Watch memory current, uint32 firstSerial) internal pure returns (bool) {
        return current.version != 0 && firstSerial >= current.firstSerial;
    }

    function _isSeated(Watch memory current, Seat memory seat) internal pure returns (bool) {
        return current.version != 0 && seat.version == current.version;
    }

    function _bit(Seat memory seat) internal pure returns (uint32) {
        return uint32(1) << seat.index;
    }
}
