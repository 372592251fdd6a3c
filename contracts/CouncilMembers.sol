// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SEATS, Weights} from "./Weights.sol";
import {IRootCouncil} from "./interfaces/IRootCouncil.sol";
import {ITrustDomain} from "./interfaces/ITrustDomain.sol";

/// @title CouncilMembers
/// @notice Who sits in the council, what everybody weighs, and the parameters.
/// @dev Invariants:
/// M1. A member has exactly one seat, and a seat at most one member.
/// M2. A table, once written, never changes; the one that stands has the highest number.
/// M3. In the table that stands, the electorate is the seats taken, each weighs within its role's bounds, and a free
///     seat weighs nothing.
/// M4. With MoreThanTwoThirds and four members or more, nobody counts a third of the table's total.
/// M5. In the table that stands there is a root, and everybody together suffices for a decision.
/// M6. Members, roles and parameters change by an executed round alone; weights also by a round's settlement, at most
///     once an epoch.
abstract contract CouncilMembers is IRootCouncil {
    using Weights for uint256[8];

    /// @inheritdoc IRootCouncil
    ITrustDomain public immutable domain;

    /// @dev One word with the next two.
    uint32 internal _currentTable;
    uint48 internal _lastMoved;
    /// @dev The seats of roots.
    uint128 internal _roots;
    Seat[SEATS] internal _seats;
    /// @dev One more than the seat's number; zero for no member.
    mapping(address account => uint256) internal _seatAfter;
    mapping(uint32 number => Table) internal _tables;
    Parameters internal _parameters;

    /// @dev What only an executed round may do.
    modifier onlyCouncil() {
        require(msg.sender == address(this), RootCouncilUnauthorized(msg.sender));
        _;
    }

    constructor(ITrustDomain domain_, Founder[] memory founders, Parameters memory parameters_) {
        require(address(domain_) != address(0), RootCouncilZeroDomain());
        domain = domain_;
        emit CouncilFounded(address(domain_));
        Table memory first;
        for (uint256 i = 0; i < founders.length; ++i) {
            _seat(first, founders[i].account, founders[i].role, parameters_);
        }
        _setParameters(parameters_);
        _write(first, parameters_);
    }

    // -- the council itself, by an executed round ---------------------------------------------------------------------

    /// @inheritdoc IRootCouncil
    function addMember(address account, Role role) external onlyCouncil {
        Table memory next = _tables[_currentTable];
        Parameters memory current = _parameters;
        _seat(next, account, role, current);
        _write(next, current);
    }

    /// @inheritdoc IRootCouncil
    function removeMember(address account) external onlyCouncil {
        uint8 number = seatOf(account);
        Table memory next = _tables[_currentTable];

        next.weights.set(number, 0);
        next.electorate &= ~Weights.bit(number);
        _roots &= ~Weights.bit(number);
        delete _seats[number];
        delete _seatAfter[account];
        emit MemberRemoved(account, number);
        _write(next, _parameters);
        _strike(number, account);
    }

    /// @inheritdoc IRootCouncil
    function setRole(address account, Role role) external onlyCouncil {
        uint8 number = seatOf(account);
        Role previous = _seats[number].role;
        require(role != Role.None && role != previous, RootCouncilInvalidRole(role));
        Table memory next = _tables[_currentTable];
        Parameters memory current = _parameters;

        _seats[number].role = role;
        _roots = role == Role.Root ? _roots | Weights.bit(number) : _roots & ~Weights.bit(number);
        next.weights.set(number, _boundsOf(current, role).initial);
        emit RoleChanged(account, previous, role);
        _write(next, current);
    }

    /// @inheritdoc IRootCouncil
    function setParameters(Parameters calldata parameters_) external onlyCouncil {
        Table memory next = _tables[_currentTable];
        Parameters memory current = parameters_;

        _setParameters(current);
        for (uint256 number = 0; next.electorate >> number != 0; ++number) {
            if (next.electorate & Weights.bit(number) == 0) continue;
            Bounds memory bounds = _boundsOf(current, _seats[number].role);
            next.weights.set(number, Weights.within(next.weights.get(number), bounds));
        }
        _write(next, current);
    }

    // -- views --------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRootCouncil
    function parameters() external view returns (Parameters memory) {
        return _parameters;
    }

    /// @inheritdoc IRootCouncil
    function seat(uint8 number) external view returns (Seat memory) {
        return _seats[number];
    }

    /// @inheritdoc IRootCouncil
    function seatOf(address account) public view returns (uint8) {
        uint256 after_ = _seatAfter[account];
        require(after_ != 0, RootCouncilUnknownMember(account));
        return uint8(after_ - 1);
    }

    /// @inheritdoc IRootCouncil
    function isMember(address account) public view returns (bool) {
        return _seatAfter[account] != 0;
    }

    /// @inheritdoc IRootCouncil
    function currentTable() external view returns (uint32) {
        return _currentTable;
    }

    /// @inheritdoc IRootCouncil
    function table(uint32 number) external view returns (Table memory) {
        return _tables[number];
    }

    /// @inheritdoc IRootCouncil
    function lastMoved() external view returns (uint64) {
        return _lastMoved;
    }

    // -- internal -----------------------------------------------------------------------------------------------------

    /// @dev Takes a removed member's votes out of every round that is not settled, and ends its own rounds.
    function _strike(uint8 number, address account) internal virtual;

    /// @dev What the weights become for a settled round, if an epoch has passed since they last moved. The bitmaps have
    /// no seat in common.
    /// @param with Seats that voted with the outcome.
    /// @param against Seats that voted against it.
    /// @param absent Seats that did not vote, and had the time to.
    /// @return changed Whether any weight moves.
    /// @return next The table with these weights, not written yet.
    function _moved(uint128 with, uint128 against, uint128 absent)
        internal
        view
        returns (bool changed, Table memory next)
    {
        Parameters memory current = _parameters;
        if (block.timestamp < uint256(_lastMoved) + current.epoch) return (false, next);
        next = _tables[_currentTable];
        uint128 concerned = with | against | absent;
        for (uint256 number = 0; concerned >> number != 0; ++number) {
            uint128 bit = Weights.bit(number);
            if (concerned & bit == 0) continue;
            Seat memory taken = _seats[number];
            uint256 gain = 0;
            uint256 loss = 0;
            if (with & bit != 0) {
                gain = current.gain;
                if (block.timestamp - taken.since >= current.seniorAfter) gain += current.seniority;
            } else {
                loss = against & bit != 0 ? current.against : current.absent;
            }
            uint256 before = next.weights.get(number);
            uint256 weight = Weights.moved(before, gain, loss, _boundsOf(current, taken.role));
            if (weight == before) continue;
            next.weights.set(number, weight);
            changed = true;
        }
    }

    /// @dev Writes what `_moved` returned.
    function _writeMoved(Table memory next) internal {
        _lastMoved = uint48(block.timestamp);
        _write(next, _parameters);
    }

    /// @dev Gives `account` the lowest free seat of `next`.
    function _seat(Table memory next, address account, Role role, Parameters memory current) private {
        require(account != address(0) && account != address(this), RootCouncilInvalidMember(account));
        require(!isMember(account), RootCouncilAlreadyMember(account));
        require(role != Role.None, RootCouncilInvalidRole(role));
        uint256 number = 0;
        while (number < SEATS && next.electorate & Weights.bit(number) != 0) {
            ++number;
        }
        require(number < SEATS, RootCouncilFull());

        next.weights.set(number, _boundsOf(current, role).initial);
        next.electorate |= Weights.bit(number);
        if (role == Role.Root) _roots |= Weights.bit(number);
        _seats[number] = Seat({account: account, role: role, since: uint64(block.timestamp)});
        _seatAfter[account] = number + 1;
        emit MemberAdded(account, uint8(number), role);
    }

    function _setParameters(Parameters memory next) private {
        require(
            _areGood(next.ordinary) && _areGood(next.intermediate) && _areGood(next.root)
                && next.against >= 2 * uint256(next.gain) && next.absent >= next.gain && next.seniority <= next.gain
                && next.longest > next.delay && next.epoch >= 1 && (next.rule == Rule.Slide || next.faults == 0),
            RootCouncilInvalidParameters()
        );
        _parameters = next;
        emit ParametersChanged(next);
    }

    function _areGood(Bounds memory bounds) private pure returns (bool) {
        return 1 <= bounds.minimum && bounds.minimum <= bounds.initial && bounds.initial <= bounds.maximum;
    }

    /// @dev Writes `next` as the table that stands, everything that follows from its weights worked out anew. Reverts
    /// when nothing could be decided by it.
    function _write(Table memory next, Parameters memory current) private {
        bool capped = current.rule == Rule.MoreThanTwoThirds;
        next.heads = uint8(Weights.count(next.electorate));
        next.cap = capped ? uint16(next.weights.cap(next.heads)) : type(uint16).max;
        next.total = uint32(next.weights.total(next.cap));
        next.rule = current.rule;
        next.faults = current.faults;
        require(_roots != 0 && 2 * uint256(next.faults) + 1 <= next.heads, RootCouncilUnreachable());

        uint32 number = _currentTable + 1;
        _currentTable = number;
        _tables[number] = next;
        emit WeightsChanged(number, next.weights, next.electorate, next.cap, next.total);
    }

    function _boundsOf(Parameters memory current, Role role) private pure returns (Bounds memory) {
        if (role == Role.Root) return current.root;
        return role == Role.Intermediate ? current.intermediate : current.ordinary;
    }
}
